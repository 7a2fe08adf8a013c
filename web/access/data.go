package access

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"headwater/web/app"
	"headwater/web/view"
)

// Source is the accounts of people and programs. Its methods return a Refusal for what
// cannot be done as asked, and any other error when they failed.
type Source interface {
	// Gate returns who sends a request. The session is that of SessionOf.
	app.Gate

	// LogIn returns a new session of a person. Host is where the request came from.
	LogIn(ctx context.Context, host, name, password string) (session string, err error)
	// Provider is the name of where people log in elsewhere; empty if they don't.
	Provider() string
	// BeginExternal returns where a browser goes to log in elsewhere, to come back to
	// redirect, and what it keeps until then. FinishExternal returns a new session from
	// what it brings back.
	BeginExternal(ctx context.Context, redirect, next string) (address string, flow Flow, err error)
	FinishExternal(ctx context.Context, host, redirect string, flow Flow, back url.Values) (session string, err error)
	// EndExternal returns where people log out there, to come back to an address; empty if
	// nowhere.
	EndExternal(back string) string
	// LogOut ends a session everywhere, LogOutEverywhere all sessions of a person.
	LogOut(ctx context.Context, session string) error
	LogOutEverywhere(ctx context.Context, name string) error
	// ChangePassword ends all sessions of a person and returns a new one.
	ChangePassword(ctx context.Context, host, name, old, password string) (session string, err error)

	// Of passkeys, base is the address at which the browser reaches the pages. A browser is
	// asked with options, and brings sealed back with its answer.
	//
	// OffersPasskeys reports whether anybody has one there.
	OffersPasskeys(ctx context.Context, base string) bool
	// Passkeys returns those of a person, and whether there can be any at the address.
	Passkeys(ctx context.Context, base, name string) (all []Passkey, possible bool, err error)
	BeginPasskey(ctx context.Context, base, host, name, password string) (options []byte, sealed string, err error)
	AddPasskey(ctx context.Context, base, name, label, sealed, answer string) error
	RemovePasskey(ctx context.Context, name, id string) error
	AskPasskey(ctx context.Context, base string) (options []byte, sealed string, err error)
	LogInPasskey(ctx context.Context, base, host, sealed, answer string) (session string, err error)

	// Invited returns whose password the code of a link sets; empty if it creates an
	// administrator.
	Invited(ctx context.Context, code string) (user string, err error)
	// SetUp sets a password with the code of a link and returns a session. The name
	// counts only for a link that creates an administrator.
	SetUp(ctx context.Context, code, name, password string) (session string, err error)
	// Unclaimed reports whether anyone who can open the pages may create the first
	// administrator, with First, which returns a session.
	Unclaimed(ctx context.Context) bool
	First(ctx context.Context, name, password string) (session string, err error)

	// Accounts returns everybody who may log in.
	Accounts(ctx context.Context) (Accounts, error)
	// AddUser creates a user and returns the code of a link to set the password,
	// ResetUser one to set another password; the old one is void.
	AddUser(ctx context.Context, u User) (code string, err error)
	ResetUser(ctx context.Context, name string) (code string, err error)
	ChangeUser(ctx context.Context, u User) error
	RemoveUser(ctx context.Context, name string) error
	// AddToken creates a token and returns its text, which is not kept.
	AddToken(ctx context.Context, t Token) (text string, err error)
	RemoveToken(ctx context.Context, name string) error
}

// Flow is a log-in elsewhere that has begun.
type Flow struct {
	State    string `json:"state"`
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"`
	// Next is where the person goes afterwards.
	Next string `json:"next"`
}

// Passkey is a key with which a person logs in.
type Passkey struct {
	ID, Name string
	// Site is the name of the site that it is for.
	Site    string
	Created time.Time
}

// Refusal is the error of what cannot be done as asked.
type Refusal struct {
	// Status is the status of the answer.
	Status int
	// Text says why, for people.
	Text string
}

// Error says why.
func (r Refusal) Error() string { return r.Text }

// Accounts are everybody who may log in.
type Accounts struct {
	Users  []User  `json:"users"`
	Tokens []Token `json:"tokens"`
}

// User is a person who may log in.
type User struct {
	Name string `json:"name"`
	Role string `json:"role"`
	// Sites are the sites that the person is limited to; none means all.
	Sites []string `json:"sites,omitempty"`
	// Waiting reports whether the person has to set a password with a link first.
	Waiting bool `json:"waiting,omitempty"`
	// External reports whether the person logs in elsewhere, Password whether here.
	External bool      `json:"external,omitempty"`
	Password bool      `json:"-"`
	Created  time.Time `json:"created"`
	// By is who created the user.
	By string `json:"by"`
}

// Token is what a program logs in with.
type Token struct {
	Name string `json:"name"`
	Role string `json:"role"`
	// Sites are the sites that the token is limited to; none means all.
	Sites   []string  `json:"sites,omitempty"`
	Created time.Time `json:"created"`
	// Expires is when it ends; zero means never.
	Expires time.Time `json:"expires,omitzero"`
	By      string    `json:"by"`
}

// LinkValid says how long a link is valid, in words.
const LinkValid = "1 hour"

// cookieAge is how long a browser keeps a session; the server may end it earlier.
const cookieAge = 30 * 24 * time.Hour

// cookieName is the name of the cookie of a session. With the prefix a browser accepts it
// only over HTTPS and from this very host.
func cookieName(r *http.Request) string {
	if app.OverHTTPS(r) {
		return "__Host-headwater"
	}
	return "headwater"
}

// SessionOf returns the session of a request, empty if it has none.
func SessionOf(r *http.Request) string {
	c, err := r.Cookie(cookieName(r))
	if err != nil {
		return ""
	}
	return c.Value
}

// keep gives a browser a session, or takes it away if the session is empty.
func keep(w http.ResponseWriter, r *http.Request, session string) {
	age := int(cookieAge.Seconds())
	if session == "" {
		age = -1
	}
	http.SetCookie(w, &http.Cookie{
		Name: cookieName(r), Value: session, Path: "/", MaxAge: age,
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: app.OverHTTPS(r),
	})
}

// FirstFacts are what the page for the first password shows.
type FirstFacts struct {
	// Code is that of the link; empty without one.
	Code string
	// Invited reports whether the link is for the user of that Name.
	Invited bool
	Name    string
	Problem string
	// Provider is the name of where the first administrator may log in as well; empty for
	// nowhere.
	Provider string
}

// LogInFacts are what the page of the log-in shows.
type LogInFacts struct {
	Name, Next, Problem string
	// Provider is the name of where people log in elsewhere; empty if they don't.
	Provider string
	// Passkeys reports whether anybody logs in here with a passkey.
	Passkeys bool
	// End is where a person who has just logged out here logs out there; empty for
	// nobody.
	End string
}

// AccountFacts are what the page of one's own account shows.
type AccountFacts struct {
	Who     view.Principal
	Changed bool
	Problem string
	// Passkeys are those of the person, and Possible reports whether more of them can be
	// added at this address.
	Passkeys []Passkey
	Possible bool
	// Provider is where a person without a password logs in, or anybody while nobody has to;
	// empty for one with a password.
	Provider string
}

// PeopleFacts are what the page of users and tokens shows.
type PeopleFacts struct {
	Accounts Accounts
	// Link and LinkOf are a new link and whose it is, Secret and SecretOf a new token.
	Link, LinkOf, Secret, SecretOf string
	Problem                        string
}

// roleHint says what a role may do.
func roleHint(role string) string {
	switch role {
	case view.RoleViewer.String():
		return "you see everything and change nothing"
	case view.RoleOperator.String():
		return "you see everything, mute alerts, redrive dead letters and try rules"
	}
	return "you may change everything, and who may log in"
}

// siteWords says what the sites are that somebody is limited to.
func siteWords(sites []string) string {
	if len(sites) == 0 {
		return "all sites"
	}
	return strings.Join(sites, ", ")
}

// article is a role with its article.
func article(role view.Role) string {
	if role == view.RoleViewer {
		return "a " + role.String()
	}
	return "an " + role.String()
}
