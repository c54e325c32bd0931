"""How long a bundle takes and how much memory it needs: jobs in fresh processes, their figures, table and picture.

It hands nothing on: a worker imports this too, and what it imports counts as the memory that it measures.
"""
