"""What verbs without Luigi do, account after account; one that fails stops only itself.

export    folders of an archive as files
gc        garbage of crashed runs in buckets
repair    lost messages fetched again
search    messages searched and shown
verify    archives verified and rebuilt
"""
