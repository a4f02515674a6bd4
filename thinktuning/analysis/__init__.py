"""From stored answers to intervals, tables, figures and the report. Imports no torch."""
