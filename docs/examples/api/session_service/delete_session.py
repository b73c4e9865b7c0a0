from likeness import Client

with Client() as client:
    session = client.create_session("target.png")
    client.delete_session(session)
