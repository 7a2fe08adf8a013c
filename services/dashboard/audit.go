package dashboard

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	auditlog "headwater/services/internal/audit"
	"headwater/web/audit"
	"headwater/web/view"
)

// auditSource implements audit.Source on the stream of the audit.
type auditSource struct{ js jetstream.JetStream }

// Audit implements audit.Source.
func (s auditSource) Audit(ctx context.Context, q audit.Query) (audit.Entries, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	if s.js.Conn().Status() != nats.CONNECTED {
		return audit.Entries{}, fmt.Errorf("%w: NATS does not answer", view.ErrUnavailable)
	}
	found, err := auditlog.Read(ctx, s.js, auditlog.Query{Who: q.Who, Action: q.Action, Text: q.Text, Before: q.Before, Size: q.Size})
	if err != nil {
		return audit.Entries{}, fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
	}
	out := audit.Entries{Next: found.Next}
	for _, e := range found.Entries {
		out.Items = append(out.Items, audit.Entry{
			Sequence: e.Sequence, At: e.At, Who: e.Who, From: e.From, Action: string(e.Action), Object: e.Object,
			Result: string(e.Result), Detail: e.Detail, Before: e.Before, After: e.After, Service: e.Service,
		})
	}
	return out, nil
}

// recorder records what people change on the pages and through the API.
type recorder struct{ log *auditlog.Log }

// record records a change, where it came from and how it ended. Who is who has logged in;
// while no log-in is required, the name that the entry has.
func (r recorder) record(ctx context.Context, e auditlog.Entry, err error) {
	e.From = addressOf(ctx)
	e.Who = cmp.Or(view.PrincipalOf(ctx).Name, e.Who, "unknown user")
	var detail string
	if e.Result, detail = auditlog.Outcome(err); detail != "" {
		e.Detail = detail
	}
	r.log.Write(ctx, e)
}

type addressKey struct{}

// withAddress lets addressOf return where a request came from.
func withAddress(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
			r = r.WithContext(context.WithValue(r.Context(), addressKey{}, host))
		}
		next.ServeHTTP(w, r)
	})
}

// addressOf returns where a request came from, without the port. A proxy on the way
// hides the sender.
func addressOf(ctx context.Context) string {
	address, _ := ctx.Value(addressKey{}).(string)
	return address
}
