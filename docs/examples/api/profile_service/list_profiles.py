from likeness import Client

with Client() as client:
    client.create_profile("anna")
    for profile in client.profiles():
        print(profile.id, profile.display_name)
