package writeback

// Crash ends Run with err at once, without a last checkpoint: what a kill leaves
// behind. It is how the tests of processors crash them.
func (e *Engine[T]) Crash(err error) { e.fail(err) }
