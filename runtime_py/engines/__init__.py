"""One file per runtime that can execute a bundle's programs; `runtime_py.engine.ENGINES` lists them."""
