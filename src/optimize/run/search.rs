//! Mixed precision: how much each group of tensors can bear is measured, and the best files follow.
