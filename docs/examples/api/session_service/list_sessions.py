from likeness import Client

with Client() as client:
    client.create_session("target.png", display_name="a car")
    for session in client.list_sessions(page_size=10):
        print(session.name, session.display_name, session.create_time)
