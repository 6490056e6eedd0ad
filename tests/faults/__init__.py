"""Jobs, brokers and stores that fail at moments nobody chose, and a checker that shares no code with the jobs."""
