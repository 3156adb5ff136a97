"""Files of messages and answers: those that a user gives are sent to the gateway, those that agents make are saved."""
