package boards

// FactsOf returns what the page of a board shows.
func FactsOf(b Board, source Source, f Facts) Facts { return New(nil, source).facts(b, f) }

// PlanFactsOf returns what the page of a plan shows.
func PlanFactsOf(p Plan, source Source) PlanFacts { return planFacts(p, source.Device) }
