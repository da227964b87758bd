"""How data sets are found, understood and read, as people have them; `dsopt.data.sets` has one kind of source a file."""
