"""Values of variables and slots: where they are read and written, by rows and on replicas."""
