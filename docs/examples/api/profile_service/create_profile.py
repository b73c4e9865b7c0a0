from likeness import Client

with Client() as client:
    profile = client.create_profile("anna", display_name="Anna's eye")
    print(f"clpips:{profile.id}", profile.base_metric)
