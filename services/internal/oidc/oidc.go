// Package oidc logs people in with an account that they have elsewhere, by OpenID Connect:
// the code flow with PKCE, state and nonce.
package oidc

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	goidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"headwater/services/internal/process"
)

const (
	// answerWithin bounds each request to the provider, maxAnswer its answer in bytes.
	answerWithin = 10 * time.Second
	maxAnswer    = 1 << 20
	// maxAtOnce bounds the log-ins that wait for the provider.
	maxAtOnce = 8
	// maxCode bounds what the browser brings back, in bytes.
	maxCode = 4096
	// maxSubject bounds the identity of a person, in bytes.
	maxSubject = 512
	// maxGroups bounds the values of the claim that are looked at.
	maxGroups = 1000
)

// Everybody is the value of the claim for those who have none of the others.
const Everybody = "*"

// Config is the provider, and whom it may let in.
type Config struct {
	Issuer     string   `name:"issuer" placeholder:"URL"`
	ClientID   string   `name:"client-id" help:"Client id that the provider has for Headwater."`
	SecretFile string   `name:"client-secret-file" help:"File that holds the secret of that client; leave it out for a public client." type:"path"`
	Label      string   `name:"name" help:"Name of the provider on the button; the host of the issuer by default."`
	Scopes     []string `name:"scopes" help:"Scopes to ask for, beside openid." default:"profile,email"`
	RoleClaim  string   `name:"role-claim" default:"groups"`
	Roles      []string `name:"roles" placeholder:"VALUE=ROLE"`
	Domains    []string `name:"domains" help:"Only people with a verified mail address at one of these domains may log in."`
}

// FlagHelp returns the help that is too long for a tag, by field.
func (Config) FlagHelp() map[string]string {
	return map[string]string{
		"Issuer": "Let people log in with their account at this OpenID Connect provider. Register Headwater there as a web " +
			"application with the address https://NAME/log-in/oidc/callback.",
		"RoleClaim": "Claim that decides about the role; a dot leads into an object, as in realm_access.roles.",
		"Roles": "Role for a value of that claim: viewer, operator or administrator; * for everybody else, who may not log in " +
			"without it. The highest counts. Without any, everybody of --oidc-domains is a viewer.",
	}
}

// On reports whether there is a provider.
func (c Config) On() bool { return c.Issuer != "" }

// roles are the names of the roles, the least first.
var roles = []string{"viewer", "operator", "administrator"}

// Validate reports every problem of the configuration.
func (c Config) Validate() error {
	if !c.On() {
		return nil
	}
	var problems []error
	add := func(format string, args ...any) { problems = append(problems, fmt.Errorf("--oidc-"+format, args...)) }
	if u, err := url.Parse(c.Issuer); err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		add("issuer: %q is not a URL that begins with https://", c.Issuer)
	}
	if c.ClientID == "" {
		add("client-id: is missing")
	}
	if c.RoleClaim == "" {
		add("role-claim: is missing")
	}
	for _, r := range c.Roles {
		if value, role := assignment(r); value == "" || !slices.Contains(roles, role) {
			add("roles: %q is not VALUE=ROLE with one of %s", r, strings.Join(roles, ", "))
		}
	}
	for _, d := range c.Domains {
		if d == "" || strings.ContainsAny(d, "@*/ ") {
			add("domains: %q is not a domain such as example.org", d)
		}
	}
	if len(c.Roles) == 0 && len(c.Domains) == 0 {
		add("roles, --oidc-domains: say who may log in; everybody with an account at the provider is --oidc-roles '*=viewer'")
	}
	return errors.Join(problems...)
}

// assignment returns the parts of VALUE=ROLE; a value may have = in it.
func assignment(text string) (value, role string) {
	i := strings.LastIndexByte(text, '=')
	if i < 0 {
		return "", ""
	}
	return text[:i], text[i+1:]
}

func loopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

// Refusal is the error of a person who may not log in, or of a provider that is not set up
// as it must be. It says what to do.
type Refusal string

// Error says why.
func (r Refusal) Error() string { return string(r) }

// ErrUnreachable is returned while the provider does not answer.
var ErrUnreachable = errors.New("the provider of the log-in does not answer")

// ErrBusy is returned while too many people log in at the same time.
var ErrBusy = errors.New("too many people log in at the moment: try again")

// Flow is one log-in that has begun. The browser keeps it until it comes back.
type Flow struct {
	State    string `json:"state"`
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"`
	// Next is where the person goes afterwards.
	Next string `json:"next"`
}

// Person is who has logged in.
type Person struct {
	// Subject is the person's identity: the issuer, and the name that it has given once
	// for all.
	Subject string
	// Name is what the person is called, which another one may be called too.
	Name string
	Role string
}

// Provider is where people log in. Any number of goroutines may use it.
type Provider struct {
	cfg    Config
	secret string
	client *http.Client
	free   chan struct{}

	mu    sync.Mutex
	found *found // guarded by mu
}

// found is what the provider says about itself.
type found struct {
	*goidc.Provider

	// end is where people log out of the provider; empty if nowhere.
	end string
}

// New returns a provider. It reads the secret and does no other I/O.
func New(cfg Config) (*Provider, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	p := &Provider{
		cfg: cfg, free: make(chan struct{}, maxAtOnce),
		client: &http.Client{Timeout: answerWithin, Transport: bounded{http.DefaultTransport}},
	}
	if cfg.SecretFile != "" {
		var err error
		if p.secret, err = process.ReadSecret(cfg.SecretFile); err != nil {
			return nil, fmt.Errorf("--oidc-client-secret-file: %w", err)
		}
	}
	return p, nil
}

// bounded bounds the answers of a provider.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(res.Body, maxAnswer), res.Body}
	}
	return res, err //nolint:wrapcheck // it stands in for the transport
}

// On reports whether there is a provider.
func (p *Provider) On() bool { return p != nil && p.cfg.On() }

// Label is the name of the provider for people.
func (p *Provider) Label() string {
	if p.cfg.Label != "" {
		return p.cfg.Label
	}
	u, err := url.Parse(p.cfg.Issuer)
	if err != nil {
		return p.cfg.Issuer
	}
	return u.Hostname()
}

// discover asks the provider about itself, once.
func (p *Provider) discover(ctx context.Context) (*found, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.found != nil {
		return p.found, nil
	}
	// Its keys are read again with this context when they change.
	provider, err := goidc.NewProvider(goidc.ClientContext(context.WithoutCancel(ctx), p.client), p.cfg.Issuer)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	var also struct {
		End string `json:"end_session_endpoint"`
	}
	if err := provider.Claims(&also); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	p.found = &found{provider, also.End}
	return p.found, nil
}

func (p *Provider) oauth(f *found, redirect string) oauth2.Config {
	return oauth2.Config{
		ClientID: p.cfg.ClientID, ClientSecret: p.secret, Endpoint: f.Endpoint(), RedirectURL: redirect,
		Scopes: append([]string{goidc.ScopeOpenID}, p.cfg.Scopes...),
	}
}

// enter bounds the requests that wait for the provider. They must call leave.
func (p *Provider) enter() (leave func(), err error) {
	select {
	case p.free <- struct{}{}:
		return func() { <-p.free }, nil
	default:
		return nil, ErrBusy
	}
}

// Begin returns where the browser goes to log in, to come back to redirect.
func (p *Provider) Begin(ctx context.Context, redirect, next string) (address string, flow Flow, err error) {
	leave, err := p.enter()
	if err != nil {
		return "", Flow{}, err
	}
	defer leave()
	f, err := p.discover(ctx)
	if err != nil {
		return "", Flow{}, err
	}
	flow = Flow{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), Next: next}
	cfg := p.oauth(f, redirect)
	return cfg.AuthCodeURL(flow.State, goidc.Nonce(flow.Nonce), oauth2.S256ChallengeOption(flow.Verifier)), flow, nil
}

// Finish returns who has logged in, from what the browser brings back.
func (p *Provider) Finish(ctx context.Context, redirect string, flow Flow, back url.Values) (Person, error) {
	leave, err := p.enter()
	if err != nil {
		return Person{}, err
	}
	defer leave()
	code := back.Get("code")
	switch {
	case flow.State == "" || subtle.ConstantTimeCompare([]byte(flow.State), []byte(back.Get("state"))) != 1:
		return Person{}, Refusal("this log-in was not begun in this browser, or too long ago: try again")
	case back.Get("error") == "access_denied":
		return Person{}, Refusal("the log-in was cancelled")
	case back.Get("error") != "":
		return Person{}, Refusal("the provider refuses the log-in with " + clip(back.Get("error")) + ": check how Headwater is registered there")
	case code == "" || len(code) > maxCode:
		return Person{}, Refusal("the provider has sent no code: try again")
	}
	f, err := p.discover(ctx)
	if err != nil {
		return Person{}, err
	}
	ctx = goidc.ClientContext(ctx, p.client)
	cfg := p.oauth(f, redirect)
	token, err := cfg.Exchange(ctx, code, oauth2.VerifierOption(flow.Verifier))
	if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok && refused.Response != nil && refused.Response.StatusCode < 500 {
		return Person{}, Refusal("the provider does not take the code (" + clip(refused.ErrorCode) + "): try again; if that does not help, check --oidc-client-id and the secret")
	}
	if err != nil {
		return Person{}, unreachable(err)
	}
	raw, _ := token.Extra("id_token").(string)
	id, err := f.VerifierContext(ctx, &goidc.Config{ClientID: p.cfg.ClientID}).Verify(ctx, raw)
	switch {
	case err != nil:
		return Person{}, Refusal("what the provider says about you cannot be verified: check --oidc-client-id and the clocks of both machines")
	case subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(flow.Nonce)) != 1:
		return Person{}, Refusal("this log-in was not begun in this browser: try again")
	}
	claims := make(map[string]any)
	if err := id.Claims(&claims); err != nil {
		return Person{}, Refusal("what the provider says about you cannot be read")
	}
	if err := p.complete(ctx, f, token, id.Subject, claims); err != nil {
		return Person{}, err
	}
	return p.cfg.person(id.Issuer, id.Subject, claims)
}

// unreachable keeps what came back out of the error: it may hold secrets.
func unreachable(err error) error {
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return fmt.Errorf("%w within %s", ErrUnreachable, answerWithin)
	}
	return ErrUnreachable
}

// complete adds the claims that only the provider's page about the person has.
func (p *Provider) complete(ctx context.Context, f *found, token *oauth2.Token, subject string, claims map[string]any) error {
	if f.UserInfoEndpoint() == "" {
		return nil
	}
	info, err := f.UserInfo(ctx, oauth2.StaticTokenSource(token))
	if err != nil {
		return unreachable(err)
	}
	also := make(map[string]any)
	if info.Subject != subject || info.Claims(&also) != nil {
		return Refusal("what the provider says about you is about two people")
	}
	for name, value := range also {
		if _, known := claims[name]; !known {
			claims[name] = value
		}
	}
	return nil
}

// LogOut returns where a person logs out of the provider, to come back to an address; empty
// if nowhere.
func (p *Provider) LogOut(back string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.found == nil || p.found.end == "" {
		return ""
	}
	u, err := url.Parse(p.found.end)
	if err != nil || u.Scheme != "https" && !loopback(u.Hostname()) {
		return ""
	}
	q := u.Query()
	q.Set("client_id", p.cfg.ClientID)
	q.Set("post_logout_redirect_uri", back)
	u.RawQuery = q.Encode()
	return u.String()
}

// person returns whom claims are about, if they may log in.
func (c Config) person(issuer, subject string, claims map[string]any) (Person, error) {
	mail, _ := claims["email"].(string)
	if len(c.Domains) > 0 {
		verified := claims["email_verified"] == true || claims["email_verified"] == "true" // some providers send a text
		_, domain, _ := strings.Cut(mail, "@")
		switch {
		case mail == "":
			return Person{}, Refusal("the provider does not say your mail address, and --oidc-domains asks for one: add the scope email to --oidc-scopes")
		case !verified:
			return Person{}, Refusal("your mail address is not verified at the provider: do that there first")
		case !slices.ContainsFunc(c.Domains, func(d string) bool { return strings.EqualFold(d, domain) }):
			return Person{}, Refusal("your mail address is not at a domain that may log in: ask an administrator of Headwater for --oidc-domains")
		}
	}
	role := c.role(values(claims, c.RoleClaim))
	if role == "" {
		return Person{}, Refusal("nothing in the claim " + c.RoleClaim + " lets you in: ask an administrator of Headwater for --oidc-roles")
	}
	identity := issuer + " " + subject
	if subject == "" || len(identity) > maxSubject {
		return Person{}, Refusal("the provider does not say who you are in a way that can be kept")
	}
	name, _ := claims["preferred_username"].(string)
	for _, other := range []string{mail, subject} {
		if plain(name) == "" {
			name = other
		}
	}
	return Person{Subject: identity, Name: plain(name), Role: role}, nil
}

// role returns the highest role of values of the claim; empty if there is none.
func (c Config) role(of []string) string {
	if len(c.Roles) == 0 {
		return roles[0]
	}
	highest, others := -1, -1
	for _, r := range c.Roles {
		value, role := assignment(r)
		rank := slices.Index(roles, role)
		if value == Everybody {
			others = max(others, rank)
		} else if slices.Contains(of, value) {
			highest = max(highest, rank)
		}
	}
	if highest < 0 {
		highest = others
	}
	if highest < 0 {
		return ""
	}
	return roles[highest]
}

// values returns the texts of a claim: itself, or those in its list.
func values(claims map[string]any, name string) []string {
	value, known := claims[name]
	for head, rest, more := strings.Cut(name, "."); !known && more; head, rest, more = strings.Cut(rest, ".") {
		inner, _ := claims[head].(map[string]any)
		claims = inner
		value, known = inner[rest]
	}
	switch value := value.(type) {
	case string:
		return []string{value}
	case []any:
		var all []string
		for _, v := range value[:min(len(value), maxGroups)] {
			if text, ok := v.(string); ok {
				all = append(all, text)
			}
		}
		return all
	}
	return nil
}

// maxPlain leaves room for a number behind a name.
const maxPlain = 60

// plain returns what of a name may name an account: what is before an @, in lower case.
func plain(name string) string {
	name, _, _ = strings.Cut(strings.ToLower(name), "@")
	var b strings.Builder
	for _, c := range name {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', b.Len() > 0 && (c == '-' || c == '_'):
			b.WriteRune(c)
		case b.Len() > 0:
			b.WriteByte('-')
		}
		if b.Len() >= maxPlain {
			break
		}
	}
	return strings.TrimRight(b.String(), "-_")
}

func clip(s string) string {
	const most = 80
	return strings.ToValidUTF8(s[:min(len(s), most)], "")
}
