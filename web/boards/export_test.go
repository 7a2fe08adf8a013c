package boards

// FactsOf returns what the page of a board shows.
func FactsOf(b Board, source Source, f Facts) Facts { return New(nil, source).facts(b, f) }
