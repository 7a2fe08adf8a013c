package dashboard

import "headwater/web/trust"

// trustSource implements trust.Source: the authority does not change while the process
// runs.
type trustSource struct{ authority trust.Authority }

// Authority implements trust.Source.
func (t trustSource) Authority() trust.Authority { return t.authority }
