package dashboard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/proto/figure"
	"headwater/services/internal/audit"
	"headwater/services/internal/credentials"
	"headwater/streams"
	"headwater/web/devices"
	"headwater/web/view"
)

// credentialSource keeps the credentials of devices for people.
type credentialSource struct {
	js      jetstream.JetStream
	set     *credentials.Set
	made    recorder
	letters *deadLetters
}

func newCredentials(js jetstream.JetStream, log *slog.Logger, made recorder, letters *deadLetters) *credentialSource {
	return &credentialSource{js: js, set: credentials.NewSet(js, log, nil), made: made, letters: letters}
}

// Credentials implements devices.Source.
func (s *credentialSource) Credentials() (devices.List, error) {
	var list devices.List
	if err := s.ready(); err != nil {
		return list, err
	}
	now := time.Now()
	for _, c := range s.set.All() {
		list.Credentials = append(list.Credentials, shownCredential(c, now))
	}
	for _, u := range s.set.Unknown() {
		list.Unknown = append(list.Unknown, devices.UnknownRule{Devices: u.Devices.String(), Standing: string(u.Standing)})
	}
	return list, nil
}

func (s *credentialSource) ready() error {
	select {
	case <-s.set.Known():
		return nil
	default:
		return fmt.Errorf("%w: the credentials have not been read yet", view.ErrUnavailable)
	}
}

func shownCredential(c credentials.Credential, now time.Time) devices.Credential {
	out := devices.Credential{
		Name: c.Name, Kind: string(c.Kind), State: string(c.State), ClientIDs: c.ClientIDs,
		URI: c.Identity.URI, Fingerprint: c.Identity.Fingerprint, Created: c.Created, Changed: c.Changed,
	}
	for _, p := range c.Devices {
		out.Devices = append(out.Devices, p.String())
	}
	if c.Claim.Until.After(now) {
		out.ClaimEnds = c.Claim.Until
	}
	for _, t := range c.Tokens {
		if t.Until.IsZero() || t.Until.After(now) {
			out.Tokens++
			if !t.Until.IsZero() {
				out.OldEnds = t.Until
			}
		}
	}
	return out
}

// AddCredential implements devices.Source.
func (s *credentialSource) AddCredential(ctx context.Context, d devices.Draft) (devices.Issued, error) {
	issued, err := s.add(ctx, d)
	action := audit.DeviceAdd
	if d.NoToken && d.URI == "" && d.Fingerprint == "" {
		action = audit.DeviceApprove
	}
	s.made.record(ctx, audit.Entry{Action: action, Object: cmp.Or(issued.Credential.Name, d.Name), After: strings.Join(issued.Credential.Devices, " ")}, err)
	return issued, err
}

func (s *credentialSource) add(ctx context.Context, d devices.Draft) (devices.Issued, error) {
	if err := s.ready(); err != nil {
		return devices.Issued{}, err
	}
	now := time.Now().UTC()
	c := credentials.Credential{
		Name: d.Name, Kind: credentials.KindDevice, ClientIDs: d.ClientIDs, State: credentials.StateAllowed, Created: now, Changed: now,
		Identity: credentials.Identity{URI: d.URI, Fingerprint: d.Fingerprint},
	}
	if d.Gateway {
		c.Kind = credentials.KindGateway
	}
	for _, text := range d.Devices {
		p, err := credentials.ParsePattern(text)
		if err != nil {
			return devices.Issued{}, fmt.Errorf("%w: %w", devices.ErrDraft, err)
		}
		c.Devices = append(c.Devices, p)
	}
	if c.Name == "" && !d.Gateway && len(c.Devices) == 1 {
		c.Name = c.Devices[0].Device
	}
	var token string
	if !d.NoToken {
		var stored credentials.Token
		token, stored = credentials.NewToken()
		c.Tokens = []credentials.Token{stored}
		if d.Claim {
			token = "" // nobody has one until it is claimed
		}
	}
	if err := c.Validate(); err != nil {
		return devices.Issued{}, fmt.Errorf("%w: %w", devices.ErrDraft, err)
	}
	if s.set.Len() >= streams.MaxCredentials {
		return devices.Issued{}, fmt.Errorf("%w: there are %d credentials already, which is the most", devices.ErrDraft, streams.MaxCredentials)
	}
	for _, id := range append([]string{c.Name}, c.ClientIDs...) {
		if owner := s.set.Owner(id); owner != "" && owner != c.Name {
			return devices.Issued{}, fmt.Errorf("%w: the client id %q belongs to %s", view.ErrConflict, id, owner)
		}
	}
	if other, taken := s.set.ByCertificate([]string{c.Identity.URI}, c.Identity.Fingerprint); taken {
		return devices.Issued{}, fmt.Errorf("%w: the certificate belongs to %s", view.ErrConflict, other.Name)
	}
	if err := credentials.Create(ctx, s.js, c); err != nil {
		return devices.Issued{}, s.explain(err)
	}
	return devices.Issued{Credential: shownCredential(c, now), Token: token}, nil
}

// RotateToken implements devices.Source.
func (s *credentialSource) RotateToken(ctx context.Context, name string, overlap time.Duration) (devices.Issued, error) {
	token, stored := credentials.NewToken()
	now := time.Now().UTC()
	c, err := s.change(ctx, name, now, func(c *credentials.Credential) error {
		c.Rotate(stored, now, now.Add(overlap))
		return nil
	})
	s.made.record(ctx, audit.Entry{Action: audit.DeviceRotate, Object: name, Detail: "overlap " + figure.Duration(overlap)}, err)
	if err != nil {
		return devices.Issued{}, err
	}
	return devices.Issued{Credential: shownCredential(c, now), Token: token}, nil
}

// MakeClaim implements devices.Source.
func (s *credentialSource) MakeClaim(ctx context.Context, name string) (devices.Claim, error) {
	now := time.Now().UTC()
	code, claim := credentials.NewClaim(now.Add(devices.ClaimValid))
	_, err := s.change(ctx, name, now, func(c *credentials.Credential) error {
		if c.State == credentials.StateRevoked {
			return errRevoked
		}
		c.Claim = claim
		return nil
	})
	s.made.record(ctx, audit.Entry{Action: audit.DeviceClaim, Object: name, Detail: "until " + claim.Until.Format(time.RFC3339)}, err)
	if err != nil {
		return devices.Claim{}, err
	}
	return devices.Claim{Name: name, Code: name + "." + code, Until: claim.Until}, nil
}

// errRevoked is returned for a claim code of a revoked credential.
var errRevoked = fmt.Errorf("%w: it is revoked", devices.ErrDraft)

// errClaim is returned for a code that is not good.
var errClaim = fmt.Errorf("%w: the code was used already or has expired", view.ErrNotFound)

// Claimable implements devices.Source.
func (s *credentialSource) Claimable(code string) (devices.Credential, error) {
	if err := s.ready(); err != nil {
		return devices.Credential{}, err
	}
	name, secret, _ := strings.Cut(code, ".")
	c, _ := s.set.Named(name)
	now := time.Now()
	if c.State != credentials.StateAllowed || !c.Claim.Accepts(secret, now) {
		return devices.Credential{}, errClaim
	}
	return shownCredential(c, now), nil
}

// TakeClaim implements devices.Source.
func (s *credentialSource) TakeClaim(ctx context.Context, code string) (devices.Issued, error) {
	name, secret, _ := strings.Cut(code, ".")
	if !streams.ValidToken(name) {
		return devices.Issued{}, errClaim
	}
	token, stored := credentials.NewToken()
	now := time.Now().UTC()
	c, err := s.change(ctx, name, now, func(c *credentials.Credential) error {
		if c.State != credentials.StateAllowed || !c.Claim.Accepts(secret, now) {
			return errClaim
		}
		c.Claim = credentials.Claim{}
		c.Rotate(stored, now, now.Add(claimOverlap))
		return nil
	})
	if errors.Is(err, view.ErrNotFound) { // which anybody could fill the audit with
		return devices.Issued{}, errClaim
	}
	s.made.record(ctx, audit.Entry{Who: "who has the claim code", Action: audit.DeviceClaimed, Object: name}, err)
	if err != nil {
		return devices.Issued{}, err
	}
	return devices.Issued{Credential: shownCredential(c, now), Token: token}, nil
}

const (
	// claimOverlap is how long the earlier token of a device stays good after a claim.
	claimOverlap = time.Hour
	// maxWaiting bounds the devices that are shown as waiting, and waitingReach the latest
	// dead letters among which they are looked for.
	maxWaiting   = 100
	waitingReach = 10_000
)

// Waiting implements devices.Source.
func (s *credentialSource) Waiting(ctx context.Context) ([]devices.Waiting, error) {
	if err := s.ready(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	letters, err := s.letters.latest(ctx, letterFilter{reason: streams.ReasonQuarantined}, waitingReach)
	if err != nil {
		return nil, err
	}
	var out []devices.Waiting
	at := make(map[credentials.Pattern]int)
	for _, l := range slices.Backward(letters) {
		who := credentials.Pattern{Site: l.site, Device: l.device}
		i, known := at[who]
		switch {
		case known:
			out[i].Letters++
		case len(out) < maxWaiting && s.set.Standing(l.site, l.device) == credentials.StandingQuarantined:
			at[who] = len(out)
			out = append(out, devices.Waiting{Site: l.site, Device: l.device, Letters: 1, Last: l.arrived})
		}
	}
	return out, nil
}

// SetRevoked implements devices.Source.
func (s *credentialSource) SetRevoked(ctx context.Context, name string, revoked bool) (devices.Credential, error) {
	now := time.Now().UTC()
	c, err := s.change(ctx, name, now, func(c *credentials.Credential) error {
		c.State = credentials.StateAllowed
		if revoked {
			c.State = credentials.StateRevoked
		}
		return nil
	})
	action := audit.DeviceApprove
	if revoked {
		action = audit.DeviceRevoke
	}
	s.made.record(ctx, audit.Entry{Action: action, Object: name}, err)
	if err != nil {
		return devices.Credential{}, err
	}
	return shownCredential(c, now), nil
}

// SetUnknown implements devices.Source.
func (s *credentialSource) SetUnknown(ctx context.Context, rules []devices.UnknownRule) error {
	u := make(credentials.Unknown, len(rules))
	for i, r := range rules {
		p, err := credentials.ParsePattern(r.Devices)
		if err != nil {
			return fmt.Errorf("%w: %w", devices.ErrDraft, err)
		}
		u[i] = credentials.UnknownRule{Devices: p, Standing: credentials.Standing(r.Standing)}
	}
	if err := u.Validate(); err != nil {
		return fmt.Errorf("%w: %w", devices.ErrDraft, err)
	}
	words := make([]string, len(u))
	for i, r := range u {
		words[i] = r.Devices.String() + "=" + string(r.Standing)
	}
	err := credentials.SetUnknown(ctx, s.js, u)
	s.made.record(ctx, audit.Entry{Action: audit.DeviceUnknown, Object: "unknown devices", After: strings.Join(words, " ")}, err)
	if err != nil {
		return s.explain(err)
	}
	return nil
}

func (s *credentialSource) change(ctx context.Context, name string, now time.Time, change func(*credentials.Credential) error) (credentials.Credential, error) {
	c, err := credentials.Change(ctx, s.js, name, func(c *credentials.Credential) error {
		c.Changed = now
		return change(c)
	})
	if err != nil {
		return c, s.explain(err)
	}
	return c, nil
}

// explain says in the words of the pages what failed.
func (s *credentialSource) explain(err error) error {
	switch {
	case errors.Is(err, errClaim), errors.Is(err, devices.ErrDraft):
		return err
	case errors.Is(err, credentials.ErrExists):
		return fmt.Errorf("%w: %w", view.ErrConflict, err)
	case errors.Is(err, credentials.ErrNone):
		return fmt.Errorf("%w: %w", view.ErrNotFound, err)
	}
	return fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
}
