package accounts

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"headwater/streams"
)

// Role is what an account may do.
type Role string

// The roles, the least first.
const (
	Viewer        Role = "viewer"
	Operator      Role = "operator"
	Administrator Role = "administrator"
)

// Bounds of what is kept.
const (
	maxUsers  = 500
	maxTokens = 500
	maxSites  = 100
	// maxTokenAge is the longest that a token may be valid.
	maxTokenAge = 10 * 366 * 24 * time.Hour
	// LinkValid is how long a link to set a password is valid.
	LinkValid = time.Hour
)

// Errors for people.
var (
	// ErrWrong is returned for a name or a password that is wrong, without saying which.
	ErrWrong = errors.New("the name or the password is wrong")
	// ErrThrottled is returned after too many wrong passwords. The password was not
	// compared.
	ErrThrottled = errors.New("too many wrong passwords: wait half a minute")
	// ErrBusy is returned while too many people log in at the same time.
	ErrBusy = errors.New("too many people log in at the moment: try again")
	// ErrNobody is returned for a session or a token that is not valid, or no longer.
	ErrNobody = errors.New("not logged in")
	// ErrLink is returned for a link that was used, has expired or never was.
	ErrLink = errors.New("the link was used already or has expired: ask for a new one")
	// ErrUnknown is returned for a user or a token that does not exist.
	ErrUnknown = errors.New("there is none of that name")
	// ErrExists is returned for a name that is taken.
	ErrExists = errors.New("the name is taken")
	// ErrLast is returned for a change after which nobody could administer accounts.
	ErrLast = errors.New("this is the last administrator who can log in")
	// ErrFirst is returned while there is no administrator.
	ErrFirst = errors.New("create an administrator first")
	// ErrClosed is returned for a first administrator when there is one.
	ErrClosed = errors.New("there is an administrator already: log in")
)

// invalid is the error of a value that is not accepted.
type invalid string

// Error says what is wrong.
func (i invalid) Error() string { return string(i) }

// IsInvalid reports whether an error says that a value is not accepted.
func IsInvalid(err error) bool {
	_, is := errors.AsType[invalid](err)
	return is
}

// User is a person who may log in.
type User struct {
	Name string `json:"name"`
	Role Role   `json:"role"`
	// Sites are the sites that the user is limited to; none means all.
	Sites []string `json:"sites,omitempty"`
	// Hash is what is kept of the password; empty until it is set for the first time.
	Hash string `json:"hash,omitempty"`
	// Subject is who the user is for a provider of log-ins; empty for one who logs in here
	// only.
	Subject string `json:"subject,omitempty"`
	// Passkeys are those with which the user logs in, and Handle is how they name the user.
	Passkeys []Passkey `json:"passkeys,omitempty"`
	Handle   string    `json:"handle,omitempty"`
	// Epoch changes when all sessions of the user end at once.
	Epoch   uint64    `json:"epoch"`
	Created time.Time `json:"created"`
	// By is who created the user.
	By string `json:"by"`
}

// Active reports whether the user can log in.
func (u User) Active() bool { return u.Hash != "" || u.Subject != "" }

// Token is what a program logs in with.
type Token struct {
	// ID finds the token. It is no secret.
	ID   string `json:"id"`
	Name string `json:"name"`
	Role Role   `json:"role"`
	// Sites are the sites that the token is limited to; none means all.
	Sites []string `json:"sites,omitempty"`
	// Hash is the SHA-256 of the secret in hex. The secret is random, so a fast hash is
	// enough.
	Hash    string    `json:"hash"`
	Created time.Time `json:"created"`
	// Expires is when it ends; zero means never.
	Expires time.Time `json:"expires,omitzero"`
	By      string    `json:"by"`
}

// Expired reports whether the token has ended.
func (t Token) Expired(now time.Time) bool { return !t.Expires.IsZero() && !now.Before(t.Expires) }

// Link lets a person set a password once.
type Link struct {
	// Hash is the SHA-256 of the code in hex.
	Hash string `json:"hash"`
	// User is whose password it sets; empty for an administrator who is created with it.
	User    string    `json:"user,omitempty"`
	Expires time.Time `json:"expires"`
}

// book is everything about accounts. It is one value in the bucket, so that each change
// is atomic.
type book struct {
	// Epoch is the highest of all users, also of those who were removed.
	Epoch  uint64  `json:"epoch"`
	Users  []User  `json:"users,omitempty"`
	Tokens []Token `json:"tokens,omitempty"`
	Links  []Link  `json:"links,omitempty"`
	// Key seals what browsers keep while they are asked for a passkey.
	Key []byte `json:"key,omitempty"`
}

// closed reports whether a log-in is required.
func (b *book) closed() bool { return slices.ContainsFunc(b.Users, User.Active) }

// administered reports whether an administrator can log in.
func (b *book) administered() bool {
	return slices.ContainsFunc(b.Users, func(u User) bool { return u.Active() && u.Role == Administrator && len(u.Sites) == 0 })
}

// user returns the user of a name to be changed, or nil.
func (b *book) user(name string) *User {
	i := slices.IndexFunc(b.Users, func(u User) bool { return u.Name == name })
	if i < 0 {
		return nil
	}
	return &b.Users[i]
}

// names of users are part of keys of a bucket.
var userName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`)

// NormalName returns a name as it is stored: a person may write it in capitals.
func NormalName(name string) string { return strings.ToLower(strings.TrimSpace(name)) }

func checkName(name string) error {
	if !userName.MatchString(name) {
		return invalid("the name must have 1 to 64 letters (without accents), digits, hyphens or underscores")
	}
	return nil
}

func checkRights(role Role, sites []string) error {
	if role != Viewer && role != Operator && role != Administrator {
		return invalid("the role must be viewer, operator or administrator")
	}
	if len(sites) > maxSites {
		return invalid(fmt.Sprintf("at most %d sites", maxSites))
	}
	for _, site := range sites {
		if !streams.ValidToken(site) {
			return invalid("a site must have 1 to 64 letters, digits, hyphens or underscores")
		}
	}
	if role == Administrator && len(sites) > 0 {
		return invalid("an administrator cannot be limited to sites")
	}
	return nil
}

// addUser adds a user who has no password yet.
func (b *book) addUser(u User) error {
	if err := errors.Join(checkName(u.Name), checkRights(u.Role, u.Sites)); err != nil {
		return err
	}
	switch {
	case b.user(u.Name) != nil:
		return fmt.Errorf("%w: %s", ErrExists, u.Name)
	case u.Role != Administrator && !b.administered():
		return ErrFirst
	case len(b.Users) >= maxUsers:
		return invalid(fmt.Sprintf("there are %d users already", maxUsers))
	}
	b.Users = append(b.Users, u)
	return nil
}

// makeAdministrator creates an administrator, or makes the user of that name one.
func (b *book) makeAdministrator(name string, now time.Time) error {
	if b.user(name) != nil {
		return b.changeUser(name, Administrator, nil)
	}
	return b.addUser(User{Name: name, Role: Administrator, Created: now, By: name})
}

// changeUser gives a user other rights, at once also in open sessions.
func (b *book) changeUser(name string, role Role, sites []string) error {
	if err := checkRights(role, sites); err != nil {
		return err
	}
	u := b.user(name)
	if u == nil {
		return fmt.Errorf("%w: %s", ErrUnknown, name)
	}
	was := b.administered()
	u.Role, u.Sites = role, sites
	if was && !b.administered() {
		return ErrLast
	}
	return nil
}

// numbers bounds the users of one name that a provider of log-ins may bring, each with a
// number behind it.
const numbers = 99

// external returns the user of a provider of log-ins, with the role that it says. A new one
// never gets the account of another user.
func (b *book) external(subject, name string, role Role, now time.Time) (u User, before Role, err error) {
	if i := slices.IndexFunc(b.Users, func(u User) bool { return u.Subject == subject }); i >= 0 {
		u = b.Users[i]
		if u.Role == role {
			return u, role, nil
		}
		sites := u.Sites
		if role == Administrator {
			sites = nil
		}
		if err := b.changeUser(u.Name, role, sites); err != nil {
			return User{}, "", err
		}
		return b.Users[i], u.Role, nil
	}
	free := name
	for n := 2; b.user(free) != nil; n++ {
		if n > numbers {
			return User{}, "", fmt.Errorf("%w: %s", ErrExists, name)
		}
		free = fmt.Sprintf("%s-%d", name, n)
	}
	if err := b.addUser(User{Name: free, Role: role, Subject: subject, Created: now, By: free, Epoch: b.nextEpoch()}); err != nil {
		return User{}, "", err
	}
	return *b.user(free), "", nil
}

// removeUser removes a user with the links to set the password.
func (b *book) removeUser(name string) error {
	if b.user(name) == nil {
		return fmt.Errorf("%w: %s", ErrUnknown, name)
	}
	was := b.administered()
	b.Users = slices.DeleteFunc(b.Users, func(u User) bool { return u.Name == name })
	b.Links = slices.DeleteFunc(b.Links, func(l Link) bool { return l.User == name })
	if was && !b.administered() {
		return ErrLast
	}
	return nil
}

// nextEpoch returns an epoch that no user has had, so that no session of a user who was
// removed is one of a later user of that name.
func (b *book) nextEpoch() uint64 {
	b.Epoch++
	return b.Epoch
}

// setPassword stores the hash of a new password, which ends all sessions of the user.
func (b *book) setPassword(name, hash string) error {
	u := b.user(name)
	if u == nil {
		return fmt.Errorf("%w: %s", ErrUnknown, name)
	}
	u.Hash = hash
	u.Epoch = b.nextEpoch()
	return nil
}

// addLink adds a link, which replaces those before it for the same user.
func (b *book) addLink(l Link, now time.Time) {
	b.Links = slices.DeleteFunc(b.Links, func(o Link) bool { return o.User == l.User || !now.Before(o.Expires) })
	b.Links = append(b.Links, l)
}

// link returns the link of a code, or ErrLink.
func (b *book) link(code string, now time.Time) (Link, error) {
	hash := fingerprint(code)
	for _, l := range b.Links {
		if equal(l.Hash, hash) && now.Before(l.Expires) {
			return l, nil
		}
	}
	return Link{}, ErrLink
}

// useLink sets the password of the user of a link, and creates the user if the link does
// not name one. The link is gone then.
func (b *book) useLink(code, name, hash string, now time.Time) (User, error) {
	l, err := b.link(code, now)
	if err != nil {
		return User{}, err
	}
	if l.User == "" {
		if err := b.makeAdministrator(name, now); err != nil {
			return User{}, err
		}
	} else {
		name = l.User
	}
	b.Links = slices.DeleteFunc(b.Links, func(o Link) bool { return o.Hash == l.Hash })
	if err := b.setPassword(name, hash); err != nil {
		return User{}, err
	}
	return *b.user(name), nil
}

// addToken adds a token.
func (b *book) addToken(t Token, now time.Time) error {
	if err := errors.Join(checkName(t.Name), checkRights(t.Role, t.Sites)); err != nil {
		return err
	}
	b.Tokens = slices.DeleteFunc(b.Tokens, func(o Token) bool { return o.Expired(now.Add(-30 * 24 * time.Hour)) })
	switch {
	case !b.administered():
		return ErrFirst
	case slices.ContainsFunc(b.Tokens, func(o Token) bool { return o.Name == t.Name }):
		return fmt.Errorf("%w: %s", ErrExists, t.Name)
	case !t.Expires.IsZero() && (!t.Expires.After(now) || t.Expires.Sub(now) > maxTokenAge):
		return invalid("a token must be valid for more than no time and for at most 10 years")
	case len(b.Tokens) >= maxTokens:
		return invalid(fmt.Sprintf("there are %d tokens already", maxTokens))
	}
	b.Tokens = append(b.Tokens, t)
	return nil
}

// removeToken removes the token of a name.
func (b *book) removeToken(name string) error {
	before := len(b.Tokens)
	b.Tokens = slices.DeleteFunc(b.Tokens, func(t Token) bool { return t.Name == name })
	if len(b.Tokens) == before {
		return fmt.Errorf("%w: %s", ErrUnknown, name)
	}
	return nil
}

// tokenPrefix begins every token, so that scanners for secrets can find it.
const tokenPrefix = "hw_"

// token returns the token of a text, or ErrNobody.
func (b *book) token(text string, now time.Time) (Token, error) {
	rest, ok := strings.CutPrefix(text, tokenPrefix)
	id, secret, both := strings.Cut(rest, "_")
	if !ok || !both {
		return Token{}, ErrNobody
	}
	hash := fingerprint(secret)
	for _, t := range b.Tokens {
		if t.ID == id && equal(t.Hash, hash) && !t.Expired(now) {
			return t, nil
		}
	}
	return Token{}, ErrNobody
}

// fingerprint is what is kept of a random secret.
func fingerprint(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
