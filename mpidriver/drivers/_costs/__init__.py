"""What quanta cost, known from earlier runs, tables and traces."""
