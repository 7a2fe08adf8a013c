package dashboard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/internal/accounts"
	"headwater/services/internal/audit"
	"headwater/services/internal/oidc"
	"headwater/services/internal/passkey"
	"headwater/services/internal/process"
	"headwater/web/access"
	"headwater/web/app"
	"headwater/web/ui"
	"headwater/web/view"
)

// accessSource implements access.Source.
type accessSource struct {
	accounts *accounts.Store
	// provider is where people log in elsewhere, if it is on.
	provider *oidc.Provider
	changes  recorder
	log      *slog.Logger
	// guarded reports whether other machines reach the pages, or a log-in is required
	// in any case. Then only a set-up link creates the first administrator.
	guarded bool
	// required reports whether a log-in is required even while nobody has an account.
	required bool
}

// Authenticate implements app.Gate.
func (a accessSource) Authenticate(r *http.Request) (app.Principal, error) {
	ctx := r.Context()
	closed, err := a.accounts.Closed(ctx)
	if err != nil {
		return app.Principal{}, a.unavailable(err)
	}
	if !closed && !a.required {
		return view.Anonymous(), nil
	}
	if text, isToken := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); isToken {
		t, err := a.accounts.Token(ctx, strings.TrimSpace(text))
		if err != nil {
			return app.Principal{}, a.nobody(err)
		}
		role, _ := view.ParseRole(string(t.Role))
		return app.Principal{Name: "token " + t.Name, Role: role, Sites: t.Sites}, nil
	}
	session := access.SessionOf(r)
	if session == "" {
		return app.Principal{}, app.ErrNobody
	}
	// A live stream is no sign of a person.
	u, err := a.accounts.Session(ctx, session, !strings.HasPrefix(r.URL.Path, "/live/"))
	if err != nil {
		return app.Principal{}, a.nobody(err)
	}
	role, _ := view.ParseRole(string(u.Role))
	return app.Principal{Name: u.Name, Role: role, Sites: u.Sites, Person: true}, nil
}

// LogInRequired reports whether the pages of a dashboard of this configuration ask for a
// log-in. If that cannot be known, it says that they don't.
func LogInRequired(ctx context.Context, cfg Config, js jetstream.JetStream) bool {
	if cfg.RequireLogIn {
		return true
	}
	has, err := accounts.HasAdministrator(ctx, js)
	return err == nil && has
}

// nobody returns the error of a gate for an error of the accounts.
func (a accessSource) nobody(err error) error {
	if errors.Is(err, accounts.ErrNobody) {
		return app.ErrNobody
	}
	return a.unavailable(err)
}

// unavailable returns the error of a source for accounts that cannot be read.
func (a accessSource) unavailable(err error) error {
	return fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
}

// refusals are the statuses of what accounts refuse.
var refusals = map[error]int{
	accounts.ErrWrong: http.StatusUnauthorized, accounts.ErrThrottled: http.StatusTooManyRequests, accounts.ErrBusy: http.StatusServiceUnavailable,
	accounts.ErrLink: http.StatusNotFound, accounts.ErrUnknown: http.StatusNotFound, accounts.ErrExists: http.StatusConflict,
	accounts.ErrLast: http.StatusConflict, accounts.ErrFirst: http.StatusConflict, accounts.ErrClosed: http.StatusForbidden,
}

// passkeyRefusals are the statuses of what passkeys refuse.
var passkeyRefusals = map[error]int{
	passkey.ErrSite: http.StatusNotFound, passkey.ErrAnswer: http.StatusUnauthorized, accounts.ErrNoPasskey: http.StatusNotFound,
}

// refused returns the error of a source for an error of the accounts.
func (a accessSource) refused(err error) error {
	if err == nil {
		return nil
	}
	if accounts.IsInvalid(err) {
		return access.Refusal{Status: http.StatusBadRequest, Text: strings.ReplaceAll(err.Error(), "\n", "; ")}
	}
	for _, all := range []map[error]int{refusals, passkeyRefusals} {
		for known, status := range all {
			if errors.Is(err, known) {
				return access.Refusal{Status: status, Text: err.Error()}
			}
		}
	}
	a.log.Warn("accounts cannot be reached", "err", err)
	return a.unavailable(err)
}

// LogIn implements access.Source.
func (a accessSource) LogIn(ctx context.Context, host, name, password string) (string, error) {
	session, err := a.accounts.LogIn(ctx, host, name, password)
	if !errors.Is(err, accounts.ErrThrottled) && !errors.Is(err, accounts.ErrBusy) { // which anybody could fill the audit with
		name = accounts.NormalName(name)
		a.changes.record(ctx, audit.Entry{Who: name, Action: audit.LogIn, Object: name}, err)
	}
	return session, a.refused(err)
}

// Provider implements access.Source.
func (a accessSource) Provider() string {
	if !a.provider.On() {
		return ""
	}
	return a.provider.Label()
}

// errNoProvider is returned where nobody logs in elsewhere.
var errNoProvider = access.Refusal{Status: http.StatusNotFound, Text: "people log in here only: there is no --oidc-issuer"}

// BeginExternal implements access.Source.
func (a accessSource) BeginExternal(ctx context.Context, redirect, next string) (string, access.Flow, error) {
	if !a.provider.On() {
		return "", access.Flow{}, errNoProvider
	}
	address, flow, err := a.provider.Begin(ctx, redirect, next)
	return address, access.Flow(flow), a.external(err)
}

// FinishExternal implements access.Source.
func (a accessSource) FinishExternal(ctx context.Context, host, redirect string, flow access.Flow, back url.Values) (string, error) {
	if !a.provider.On() {
		return "", errNoProvider
	}
	forgive, err := a.accounts.Attempt(host)
	if err != nil {
		return "", a.refused(err)
	}
	person, err := a.provider.Finish(ctx, redirect, oidc.Flow(flow), back)
	if err != nil {
		if errors.Is(err, oidc.ErrBusy) || errors.Is(err, oidc.ErrUnreachable) {
			forgive()
		}
		return "", a.external(err)
	}
	forgive()
	session, u, before, err := a.accounts.External(ctx, person.Subject, person.Name, accounts.Role(person.Role))
	name := u.Name
	if name == "" {
		name = person.Name
	}
	detail := "by " + a.provider.Label()
	switch {
	case err != nil:
	case before == "":
		a.changes.record(ctx, audit.Entry{Who: name, Action: audit.UserAdd, Object: name, After: person.Role, Detail: detail}, nil)
	case before != u.Role:
		a.changes.record(ctx, audit.Entry{Who: name, Action: audit.UserChange, Object: name, Before: string(before), After: person.Role, Detail: detail}, nil)
	}
	a.changes.record(ctx, audit.Entry{Who: name, Action: audit.LogIn, Object: name, Detail: detail}, err)
	return session, a.refused(err)
}

// external returns the error of a source for an error of the provider.
func (a accessSource) external(err error) error {
	refused, isRefused := errors.AsType[oidc.Refusal](err)
	switch {
	case err == nil:
		return nil
	case isRefused:
		return access.Refusal{Status: http.StatusForbidden, Text: refused.Error()}
	case errors.Is(err, oidc.ErrBusy):
		return access.Refusal{Status: http.StatusServiceUnavailable, Text: err.Error()}
	}
	a.log.Warn("people cannot log in elsewhere", "provider", a.provider.Label(), "err", err)
	return access.Refusal{
		Status: http.StatusServiceUnavailable,
		Text:   a.provider.Label() + " does not answer: try again in a moment, or log in with a password",
	}
}

// EndExternal implements access.Source.
func (a accessSource) EndExternal(back string) string {
	if !a.provider.On() {
		return ""
	}
	return a.provider.LogOut(back)
}

// LogOut implements access.Source.
func (a accessSource) LogOut(ctx context.Context, session string) error {
	return a.refused(a.accounts.LogOut(ctx, session))
}

// LogOutEverywhere implements access.Source.
func (a accessSource) LogOutEverywhere(ctx context.Context, name string) error {
	err := a.accounts.LogOutEverywhere(ctx, name)
	a.changes.record(ctx, audit.Entry{Action: audit.LogOut, Object: name, Detail: "everywhere"}, err)
	return a.refused(err)
}

// ChangePassword implements access.Source.
func (a accessSource) ChangePassword(ctx context.Context, host, name, old, password string) (string, error) {
	session, err := a.accounts.ChangePassword(ctx, host, name, old, password)
	a.changes.record(ctx, audit.Entry{Action: audit.UserPassword, Object: name}, err)
	return session, a.refused(err)
}

// OffersPasskeys implements access.Source.
func (a accessSource) OffersPasskeys(ctx context.Context, base string) bool {
	site, err := passkey.SiteOf(base)
	if err != nil {
		return false
	}
	has, err := a.accounts.HasPasskeys(ctx, site)
	return err == nil && has
}

// Passkeys implements access.Source.
func (a accessSource) Passkeys(ctx context.Context, base, name string) (all []access.Passkey, possible bool, err error) {
	known, err := a.accounts.Passkeys(ctx, name)
	if err != nil {
		return nil, false, a.refused(err)
	}
	for _, k := range known {
		all = append(all, access.Passkey{ID: k.Key.ID(), Name: k.Name, Site: k.Site, Created: k.Created})
	}
	_, err = passkey.SiteOf(base)
	return all, err == nil, nil
}

// BeginPasskey implements access.Source.
func (a accessSource) BeginPasskey(ctx context.Context, base, host, name, password string) ([]byte, string, error) {
	site, err := passkey.SiteOf(base)
	if err != nil {
		return nil, "", a.refused(err)
	}
	options, sealed, err := a.accounts.BeginPasskey(ctx, site, host, name, password)
	return options, sealed, a.refused(err)
}

// AddPasskey implements access.Source.
func (a accessSource) AddPasskey(ctx context.Context, base, name, label, sealed, answer string) error {
	site, err := passkey.SiteOf(base)
	if err != nil {
		return a.refused(err)
	}
	err = a.accounts.AddPasskey(ctx, site, name, label, sealed, answer)
	a.changes.record(ctx, audit.Entry{Action: audit.UserPasskey, Object: name, After: label, Detail: "for " + site.ID}, err)
	return a.refused(err)
}

// RemovePasskey implements access.Source.
func (a accessSource) RemovePasskey(ctx context.Context, name, id string) error {
	label, err := a.accounts.RemovePasskey(ctx, name, id)
	a.changes.record(ctx, audit.Entry{Action: audit.UserPasskey, Object: name, Before: label, Detail: "removed"}, err)
	return a.refused(err)
}

// AskPasskey implements access.Source.
func (a accessSource) AskPasskey(ctx context.Context, base string) ([]byte, string, error) {
	site, err := passkey.SiteOf(base)
	if err != nil {
		return nil, "", a.refused(err)
	}
	options, sealed, err := a.accounts.AskPasskey(ctx, site)
	return options, sealed, a.refused(err)
}

// LogInPasskey implements access.Source.
func (a accessSource) LogInPasskey(ctx context.Context, base, host, sealed, answer string) (string, error) {
	site, err := passkey.SiteOf(base)
	if err != nil {
		return "", a.refused(err)
	}
	session, u, with, err := a.accounts.LogInPasskey(ctx, site, host, sealed, answer)
	if err == nil {
		a.changes.record(ctx, audit.Entry{Who: u.Name, Action: audit.LogIn, Object: u.Name, Detail: "with the passkey " + with}, nil)
	}
	return session, a.refused(err)
}

// Invited implements access.Source.
func (a accessSource) Invited(ctx context.Context, code string) (string, error) {
	user, err := a.accounts.Invited(ctx, code)
	return user, a.refused(err)
}

// SetUp implements access.Source.
func (a accessSource) SetUp(ctx context.Context, code, name, password string) (string, error) {
	session, err := a.accounts.SetUp(ctx, code, name, password)
	if err == nil {
		name, _, _ = strings.Cut(session, ".")
		a.changes.record(ctx, audit.Entry{Who: name, Action: audit.UserPassword, Object: name, Detail: "with a link"}, nil)
	}
	return session, a.refused(err)
}

// Unclaimed implements access.Source.
func (a accessSource) Unclaimed(ctx context.Context) bool {
	closed, err := a.accounts.Closed(ctx)
	return err == nil && !closed && !a.guarded
}

// errGuarded is returned while only a set-up link may create an account.
var errGuarded = access.Refusal{
	Status: http.StatusForbidden,
	Text:   "other machines can open this page: create the first administrator with the link that Headwater prints when it starts",
}

// claim returns errGuarded while nobody has an account, unless anyone who can open the pages
// may create one.
func (a accessSource) claim(ctx context.Context) error {
	closed, err := a.accounts.Closed(ctx)
	if err == nil && !closed && a.guarded {
		return errGuarded
	}
	return a.refused(err)
}

// First implements access.Source.
func (a accessSource) First(ctx context.Context, name, password string) (string, error) {
	if err := a.claim(ctx); err != nil {
		return "", err
	}
	session, err := a.accounts.First(ctx, name, password)
	name = accounts.NormalName(name)
	a.changes.record(ctx, audit.Entry{Who: name, Action: audit.UserAdd, Object: name, After: string(accounts.Administrator)}, err)
	return session, a.refused(err)
}

// Accounts implements access.Source.
func (a accessSource) Accounts(ctx context.Context) (access.Accounts, error) {
	users, err := a.accounts.Users(ctx)
	if err != nil {
		return access.Accounts{}, a.refused(err)
	}
	tokens, err := a.accounts.Tokens(ctx)
	if err != nil {
		return access.Accounts{}, a.refused(err)
	}
	var all access.Accounts
	for _, u := range users {
		all.Users = append(all.Users, access.User{Name: u.Name, Role: string(u.Role), Sites: u.Sites, Waiting: !u.Active(), External: u.Subject != "", Password: u.Hash != "", Created: u.Created, By: u.By})
	}
	for _, t := range tokens {
		all.Tokens = append(all.Tokens, access.Token{Name: t.Name, Role: string(t.Role), Sites: t.Sites, Created: t.Created, Expires: t.Expires, By: t.By})
	}
	return all, nil
}

// rights says what an account may do.
func rights(role string, sites []string) string {
	if len(sites) == 0 {
		return role
	}
	return role + " at " + strings.Join(sites, ", ")
}

// AddUser implements access.Source.
func (a accessSource) AddUser(ctx context.Context, u access.User) (string, error) {
	if err := a.claim(ctx); err != nil {
		return "", err
	}
	code, err := a.accounts.AddUser(ctx, accounts.User{Name: u.Name, Role: accounts.Role(u.Role), Sites: u.Sites, By: u.By})
	a.changes.record(ctx, audit.Entry{Action: audit.UserAdd, Object: u.Name, After: rights(u.Role, u.Sites)}, err)
	return code, a.refused(err)
}

// ResetUser implements access.Source.
func (a accessSource) ResetUser(ctx context.Context, name string) (string, error) {
	if err := a.claim(ctx); err != nil {
		return "", err
	}
	code, err := a.accounts.ResetUser(ctx, name)
	a.changes.record(ctx, audit.Entry{Action: audit.UserPassword, Object: name, Detail: "void until a link sets another one"}, err)
	return code, a.refused(err)
}

// ChangeUser implements access.Source.
func (a accessSource) ChangeUser(ctx context.Context, u access.User) error {
	err := a.accounts.ChangeUser(ctx, u.Name, accounts.Role(u.Role), u.Sites)
	a.changes.record(ctx, audit.Entry{Action: audit.UserChange, Object: u.Name, After: rights(u.Role, u.Sites)}, err)
	return a.refused(err)
}

// RemoveUser implements access.Source.
func (a accessSource) RemoveUser(ctx context.Context, name string) error {
	err := a.accounts.RemoveUser(ctx, name)
	a.changes.record(ctx, audit.Entry{Action: audit.UserRemove, Object: name}, err)
	return a.refused(err)
}

// AddToken implements access.Source.
func (a accessSource) AddToken(ctx context.Context, t access.Token) (string, error) {
	text, err := a.accounts.AddToken(ctx, accounts.Token{Name: t.Name, Role: accounts.Role(t.Role), Sites: t.Sites, Expires: t.Expires, By: t.By})
	a.changes.record(ctx, audit.Entry{Action: audit.TokenAdd, Object: t.Name, After: rights(t.Role, t.Sites)}, err)
	return text, a.refused(err)
}

// RemoveToken implements access.Source.
func (a accessSource) RemoveToken(ctx context.Context, name string) error {
	err := a.accounts.RemoveToken(ctx, name)
	a.changes.record(ctx, audit.Entry{Action: audit.TokenRemove, Object: name}, err)
	return a.refused(err)
}

// PrintLink returns a Deps.Announce that prints the link for the person who started the
// process, on a terminal also as a QR code for a phone. It is not for the log, which others
// may read for long.
func PrintLink(w io.Writer) func(link string) {
	return func(link string) {
		code := ""
		if process.IsTerminal(w) {
			code = ui.QRText(link)
		}
		// An error means that nobody can read it anyway.
		_, _ = fmt.Fprintf(w, "\nCreate an administrator within %s, once, at\n\n    %s\n\n%s", access.LinkValid, link, code)
	}
}

// inviteRetry is the pause before the accounts are asked again for a set-up link.
const inviteRetry = time.Second

// invite announces a set-up link when it is asked for, or when other machines reach the
// pages and there is no administrator yet.
func (a accessSource) invite(ctx context.Context, asked bool, base string, announce func(link string)) {
	if announce == nil || !asked && !a.guarded {
		return
	}
	for ; ctx.Err() == nil; process.Sleep(ctx, inviteRetry) {
		code, err := a.accounts.NewSetUp(ctx, asked)
		switch {
		case errors.Is(err, accounts.ErrClosed):
			return
		case err == nil:
			announce(strings.TrimSuffix(base, "/") + access.SetUpPath + "?" + url.Values{"code": {code}}.Encode())
			return
		}
	}
}
