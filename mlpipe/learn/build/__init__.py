"""What a recipe's sections become for a task: network, loss, optimizer and loaders."""
