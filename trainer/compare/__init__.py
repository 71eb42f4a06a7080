"""`python -m trainer compare`: the table and the figure of a paper for any runs, on one page.

scoring.py scores the runs, table.py has the rows and what they say, figure.py picks clips, page.py is the HTML. What is
measured, against which published numbers, and what is drawn comes from a row of PAPERS.
"""
