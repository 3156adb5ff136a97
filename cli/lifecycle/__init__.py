"""Starting and stopping the gateway as a background process."""
