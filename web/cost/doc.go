// Package cost is the page that compares what a managed cloud costs for all readings with
// deciding at the site, and the same in the API. It shows nothing of this installation.
package cost
