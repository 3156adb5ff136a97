"""What is known of newer versions: `status` is the file that says it, `checker` asks so often as the settings say."""
