"""The embedded cluster: PostgreSQL, Redis, Ray with the three backends, and the gateway, as child processes of one."""
