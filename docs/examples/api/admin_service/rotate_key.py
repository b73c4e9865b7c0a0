from likeness import Client

with Client() as client:  # with an admin key in LIKENESS_API_KEY
    old = client.create_key("acme")
    new = client.rotate_key(old.key, grace_seconds=3600)
    print(new.text, "takes over; the old key works until", new.replaced.expire_time)
