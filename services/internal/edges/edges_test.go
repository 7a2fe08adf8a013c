package edges_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/services/internal/credentials"
	"headwater/services/internal/edges"
	"headwater/services/internal/uplink"
	"headwater/streams/streamtest"
)

var now = time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC)

// Tokens that are long enough.
const (
	token = "a-token-that-the-edge-has-made"
	other = "a-token-that-another-has-made"
)

func TestValidate(t *testing.T) {
	many := make([]string, 65)
	for i := range many {
		many[i] = "s"
	}
	for what, c := range map[string]struct {
		edge edges.Edge
		good bool
	}{
		"a name":         {edges.Edge{Name: "attic"}, true},
		"sites":          {edges.Edge{Name: "attic", Sites: []string{"hall", "yard"}}, true},
		"no name":        {edges.Edge{}, false},
		"a dot":          {edges.Edge{Name: "a.b"}, false},
		"a long name":    {edges.Edge{Name: strings.Repeat("n", 65)}, false},
		"a site's dot":   {edges.Edge{Name: "attic", Sites: []string{"a.>"}}, false},
		"too many sites": {edges.Edge{Name: "attic", Sites: many}, false},
		"a policy":       {edges.Edge{Name: "attic", Policy: uplink.Policy{Budget: -1}}, false},
	} {
		err := c.edge.Validate()
		if (err == nil) != c.good || err != nil && !errors.Is(err, edges.ErrDraft) {
			t.Errorf("%s: %v", what, err)
		}
	}
	limited := edges.Edge{Sites: []string{"hall"}}
	if !limited.Speaks("hall") || limited.Speaks("yard") || !(edges.Edge{}).Speaks("yard") {
		t.Error("an edge speaks for other sites than it may")
	}
}

// TestStore follows an edge from its invitation to the new one after it was revoked.
func TestStore(t *testing.T) {
	server := streamtest.Run(t)
	server.Ensure(t, 1)
	store := edges.Store{JS: server.JS(t)}
	ctx := t.Context()
	invite := func(name string, at time.Time, draft func(*edges.Edge)) string {
		t.Helper()
		e, secret, err := store.Invite(ctx, name, at, draft)
		if err != nil || e.Name != name || len(secret) < 20 {
			t.Fatalf("invite %s: %+v, %v", name, e, err)
		}
		return secret
	}
	join := func(name, secret, token string, at time.Time) error {
		t.Helper()
		_, err := store.Join(ctx, name, secret, token, at)
		return err
	}
	want := func(what string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	known := func(token string) error {
		_, err := store.Authenticate(ctx, "attic", token)
		return err
	}

	secret := invite("attic", now, func(e *edges.Edge) { e.Sites = []string{"hall"} })
	want("before it joined", known(token), edges.ErrSecret)
	want("an empty token", known(""), edges.ErrSecret)
	want("an edge that is not there", join("nobody", secret, token, now), edges.ErrSecret)
	want("another secret", join("attic", secret+"x", token, now), edges.ErrSecret)
	want("no secret", join("attic", "", token, now), edges.ErrSecret)
	want("a short token", join("attic", secret, "short", now), edges.ErrSecret)
	want("a late edge", join("attic", secret, token, now.Add(edges.InviteValid)), edges.ErrSecret)
	want("in time", join("attic", secret, token, now.Add(time.Hour)), nil)
	want("again, for the answer was lost", join("attic", secret, token, now.Add(time.Hour)), nil)
	want("the secret a second time", join("attic", secret, other, now.Add(time.Hour)), edges.ErrSecret)
	want("its token", known(token), nil)
	want("another token", known(other), edges.ErrSecret)
	_, err := store.Authenticate(ctx, "a.>", token)
	want("a name that is a pattern", err, edges.ErrSecret)

	// A new invitation leaves the edge in until it is used.
	again := invite("attic", now, func(e *edges.Edge) {
		if len(e.Sites) != 1 {
			t.Errorf("the draft begins with sites %v", e.Sites)
		}
	})
	want("its token, invited again", known(token), nil)
	want("the new invitation", join("attic", again, other, now), nil)
	want("its old token", known(token), edges.ErrSecret)
	want("its new token", known(other), nil)

	policy := uplink.Policy{Readings: []uplink.Selection{{Series: "hall/*/*", Every: 5}}, Budget: 1000}
	_, err = store.SetPolicy(ctx, "attic", now, policy)
	want("a policy", err, nil)
	_, err = store.SetPolicy(ctx, "attic", now, uplink.Policy{Rate: -1})
	want("a policy that cannot be", err, edges.ErrDraft)
	_, err = store.SetPolicy(ctx, "nobody", now, policy)
	want("a policy of no edge", err, edges.ErrNone)
	_, err = store.SetPolicy(ctx, "a.b", now, policy)
	want("a policy of no name", err, edges.ErrDraft)

	status := edges.Status{Seen: now, Refused: 3}
	status.Disk = uplink.Disk{Free: 1, Total: 2}
	want("a status", store.PutStatus(ctx, "attic", status), nil)
	invite("cellar", now, func(*edges.Edge) {})
	all, err := store.All(ctx)
	if err != nil || len(all) != 2 || all[0].Name != "attic" || all[1].Name != "cellar" || !all[1].Seen.IsZero() {
		t.Fatalf("all: %+v, %v", all, err)
	}
	if d := cmp.Diff(status, all[0].Status); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(policy, all[0].Policy); d != "" {
		t.Error(d)
	}

	if _, at, err := store.Holdings(ctx, "attic"); err != nil || !at.IsZero() {
		t.Errorf("holdings before there are any: %v, %v", at, err)
	}
	_, err = store.Edge(ctx, "nobody")
	want("no edge", err, edges.ErrNone)
	_, err = store.Edge(ctx, "*")
	want("no name of an edge", err, edges.ErrNone)
	pieces := []uplink.Piece{{Site: "hall", Device: "d", From: 0, Until: 3600}}
	_, err = store.AskRepair(ctx, "attic", now, pieces)
	want("a repair", err, nil)
	_, err = store.AskRepair(ctx, "attic", now, make([]uplink.Piece, uplink.MaxPieces+1))
	want("a repair that cannot be", err, edges.ErrDraft)
	one, err := store.Edge(ctx, "attic")
	if err != nil || one.Edge.Repair == nil || one.Refused != 3 || cmp.Diff(pieces, one.Edge.Repair.Pieces) != "" {
		t.Errorf("one edge: %+v, %v", one, err)
	}

	_, err = store.Revoke(ctx, "nobody", now)
	want("revoke no edge", err, edges.ErrNone)
	invited := invite("attic", now, func(*edges.Edge) {})
	e, err := store.Revoke(ctx, "attic", now)
	want("revoke", err, nil)
	if e.Invite != (credentials.Claim{}) {
		t.Error("the invitation of a revoked edge is good")
	}
	want("a revoked edge", known(other), edges.ErrRevoked)
	_, err = store.AskRepair(ctx, "attic", now, pieces)
	want("a repair of a revoked edge", err, edges.ErrRevoked)
	want("a revoked edge that joins", join("attic", invited, token, now), edges.ErrRevoked)
	// Its old token is not good again with the next invitation.
	last := invite("attic", now, func(*edges.Edge) {})
	want("its token, invited again", known(other), edges.ErrSecret)
	want("the last invitation", join("attic", last, token, now), nil)
	want("its last token", known(token), nil)
}

// TestChangeTakesTurns has another change come in between.
func TestChangeTakesTurns(t *testing.T) {
	server := streamtest.Run(t)
	server.Ensure(t, 1)
	store := edges.Store{JS: server.JS(t)}
	if _, _, err := store.Invite(t.Context(), "attic", now, func(*edges.Edge) {}); err != nil {
		t.Fatal(err)
	}
	between := 0
	e, err := store.Change(t.Context(), "attic", func(e *edges.Edge) error {
		if between++; between == 1 {
			if _, err := store.SetPolicy(t.Context(), "attic", now, uplink.Policy{Budget: 7}); err != nil {
				return err
			}
		}
		e.Sites = []string{"hall"}
		return nil
	})
	if err != nil || between != 2 || e.Policy.Budget != 7 || len(e.Sites) != 1 {
		t.Errorf("after %d attempts: %+v, %v", between, e, err)
	}
	_, err = store.Change(t.Context(), "attic", func(*edges.Edge) error {
		_, err := store.SetPolicy(t.Context(), "attic", now, uplink.Policy{})
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "changed by others") {
		t.Errorf("always changed by others: %v", err)
	}
}
