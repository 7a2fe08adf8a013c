package dashboard

import "headwater/proto/cost"

// costSource implements the source of package web/cost: the prices do not change while the
// process runs.
type costSource struct{ prices cost.Prices }

// Prices implements the source.
func (c costSource) Prices() cost.Prices { return c.prices }
