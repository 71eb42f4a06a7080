"""`python -m trainer compare`: Table 1 and figure 5 of arXiv 1511.06309 for any runs, on one page.

scoring.py scores the runs, table.py has the rows and what they say, published.py the paper's numbers and where a scale
is not the paper's, figure.py picks clips, page.py is the HTML.
"""
