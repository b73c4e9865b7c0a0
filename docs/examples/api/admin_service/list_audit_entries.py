from likeness import Client

with Client() as client:  # with an admin key in LIKENESS_API_KEY
    client.create_key("acme")
    for entry in client.audit_entries():
        print(entry.create_time, entry.key_id, entry.action, entry.subject, entry.detail)
