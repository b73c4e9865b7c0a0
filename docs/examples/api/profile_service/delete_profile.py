from likeness import Client

with Client() as client:
    client.create_profile("anna")
    client.delete_profile("anna")
