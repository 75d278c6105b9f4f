//! What goes wrong around the program: here, files that were damaged after they were written.

mod damage;
