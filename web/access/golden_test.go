package access_test

import (
	"testing"

	"github.com/a-h/templ"

	"headwater/web/access"
	"headwater/web/internal/fixture"
	"headwater/web/internal/webtest"
	"headwater/web/view"
)

func TestGolden(t *testing.T) {
	webtest.Golden(t, func(t *testing.T, s *fixture.Source) map[string]templ.Component {
		people := access.PeopleFacts{}
		var err error
		people.Accounts, err = s.Accounts(t.Context())
		if err != nil { // the page says so
			return nil
		}
		if len(people.Accounts.Users) < 3 {
			return map[string]templ.Component{"people": access.PeoplePage(people)}
		}
		secret := people
		secret.Link, secret.LinkOf = "http://localhost:8080/set-up?code=CODE", "vera"
		secret.Secret, secret.SecretOf = "hw_example_SHOWNONCE", "script"
		return map[string]templ.Component{
			"people":      access.PeoplePage(people),
			"people-once": access.PeoplePage(secret),
			"log-in":      access.LogInPage(access.LogInFacts{Next: "/alerts"}),
			"log-in-with": access.LogInPage(access.LogInFacts{Next: "/alerts", Provider: "id.example.org", Passkeys: true, End: "https://id.example.org/end"}),
			"log-in-no":   access.LogInPage(access.LogInFacts{Name: "vera", Next: "/", Problem: "The name or the password is wrong."}),
			"first":       access.FirstPage(access.FirstFacts{}),
			"first-with":  access.FirstPage(access.FirstFacts{Provider: "id.example.org"}),
			"invited":     access.FirstPage(access.FirstFacts{Code: "CODE", Invited: true, Name: "vera", Problem: "The two passwords differ."}),
			"no-link":     access.NoLinkPage("", ""),
			"account":     access.AccountPage(access.AccountFacts{Who: view.Principal{Name: "vera", Role: view.RoleViewer, Person: true}}),
			"account-at":  access.AccountPage(access.AccountFacts{Who: view.Principal{Name: "vera", Role: view.RoleViewer, Person: true}, Provider: "id.example.org"}),
			"account-key": access.AccountPage(access.AccountFacts{
				Who: view.Principal{Name: "vera", Role: view.RoleViewer, Person: true}, Possible: true,
				Passkeys: []access.Passkey{{ID: "KEY", Name: "phone <b>", Site: "headwater.example.org", Created: people.Accounts.Users[0].Created}},
			}),
			"open":      access.AccountPage(access.AccountFacts{Who: view.Anonymous()}),
			"open-with": access.AccountPage(access.AccountFacts{Who: view.Anonymous(), Provider: "id.example.org"}),
		}
	})
}
