package cost

import tariff "headwater/proto/cost"

// Source has the prices.
type Source interface {
	// Prices returns the prices that the page computes with.
	Prices() tariff.Prices
}
