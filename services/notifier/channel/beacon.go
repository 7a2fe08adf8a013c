package channel

import (
	"context"
	"net/http"

	"headwater/services/internal/config"
)

// Beacon calls addresses that want to be called now and then. One goroutine only.
type Beacon struct{ client *http.Client }

// NewBeacon returns a Beacon with connections of its own.
func NewBeacon() Beacon { return Beacon{newClient()} }

// Call asks for an address and ignores what it answers, unless that is a failure. The
// error is an *Error and quotes nothing of the address.
func (b Beacon) Call(ctx context.Context, address config.Secret) error {
	req, err := http.NewRequest(http.MethodGet, address.Reveal(), nil)
	if err != nil {
		return permanent("the URL can't be used")
	}
	return do(ctx, b.client, req, address)
}

// Close closes the connections.
func (b Beacon) Close() { b.client.CloseIdleConnections() }
