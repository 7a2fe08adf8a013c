package process

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
)

// HostConfig lists the names under which a listener may be reached.
type HostConfig struct {
	AllowedHosts []string `name:"allowed-host" placeholder:"NAME"`
}

// FlagHelp returns the help that is too long for a tag, by field.
func (HostConfig) FlagHelp() map[string]string {
	return map[string]string{
		"AllowedHosts": "Further names, separated by commas, by which browsers and devices may reach the pages and the API, " +
			"such as headwater.lan. IP addresses, localhost, the name of this machine and that of --public-url are " +
			"allowed anyway.",
	}
}

// Validate returns an error for every name that is not a host name, joined.
func (c HostConfig) Validate() error {
	var errs []error
	for _, name := range c.AllowedHosts {
		if name == "" || strings.ContainsAny(name, ":/*@ ") {
			errs = append(errs, fmt.Errorf("--allowed-host: %q must be a name alone, such as headwater.lan", name))
		}
	}
	return errors.Join(errs...)
}

// Guard answers 421 to requests under a name that is not allowed. Otherwise a foreign
// page whose name was made to point to this machine (DNS rebinding) would look like the
// dashboard's own page to the browser, and could read and change everything. IP
// addresses and localhost are always allowed, because no name server can give them out
// as names. Probes reveal nothing and are answered under any name. The public URL may be
// empty.
func (c HostConfig) Guard(publicURL string, next http.Handler) http.Handler {
	allowed := []string{"localhost"}
	for _, name := range c.AllowedHosts {
		allowed = append(allowed, hostName(name))
	}
	if public, err := url.Parse(publicURL); err == nil && public.Host != "" {
		allowed = append(allowed, hostName(public.Host))
	}
	if name, err := os.Hostname(); err == nil && name != "" {
		short, _, _ := strings.Cut(hostName(name), ".")
		allowed = append(allowed, hostName(name), short, short+".local")
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := hostName(r.Host)
		if _, err := netip.ParseAddr(name); err == nil || name == "" || strings.HasSuffix(name, ".localhost") ||
			slices.Contains(allowed, name) || r.URL.Path == "/livez" || r.URL.Path == "/readyz" {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		http.Error(w, fmt.Sprintf("Headwater does not answer under the name %.80q. If you gave it that name, start it with --allowed-host %.80s, or use its IP address.",
			name, name), http.StatusMisdirectedRequest)
	})
}

// hostName returns the name in a Host header, without the port.
func hostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
}

// Exposed reports whether other machines may reach an address, host:port.
func Exposed(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return host != "localhost" && (err != nil || !addr.Unmap().IsLoopback())
}

// Reach describes where an exposed address can be reached.
func Reach(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if addr, err := netip.ParseAddr(host); host == "" || err == nil && addr.IsUnspecified() {
		return "port " + port + " of this machine"
	}
	return address
}

// WarnExposed logs which of the listeners other machines can reach, with no log-in.
func WarnExposed(log *slog.Logger, what ...Open) {
	var open []string
	for _, o := range what {
		if Exposed(o.Address) {
			open = append(open, o.What+" on "+Reach(o.Address))
		}
	}
	if len(open) > 0 {
		log.Warn("other machines can reach this, and there is no log-in: allow only those that may read and change everything", "open", strings.Join(open, "; "))
	}
}

// Open is a listener without a login: what it serves, and its address, host:port.
type Open struct{ What, Address string }
