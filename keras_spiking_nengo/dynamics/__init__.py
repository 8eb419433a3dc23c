"""Pure dynamics: state goes in and comes out; no variables live here."""
