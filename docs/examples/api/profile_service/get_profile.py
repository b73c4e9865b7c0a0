from likeness import Client

with Client() as client:
    client.create_profile("anna")
    profile = client.profile("anna")
    print(profile.version_count, profile.ranking_count)
