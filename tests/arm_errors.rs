//! Each error row of the reference, over HTTP.
