// Package access is who may use the dashboard: the pages on which people log in and out,
// set and change their passwords, and on which administrators manage users and tokens.
package access
