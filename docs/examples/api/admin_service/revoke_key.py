from likeness import Client

with Client() as client:  # with an admin key in LIKENESS_API_KEY
    made = client.create_key("acme")
    print(client.revoke_key(made.key).revoke_time)
