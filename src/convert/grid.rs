//! Weights that lie on a grid.
pub struct Grid;
pub fn grid_of() {}
