"""The deployment in containers: compose file, images, and the settings of the servers in it."""
