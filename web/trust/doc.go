// Package trust is the page that explains how phones, computers and devices come to trust
// the authority of this Headwater, and the certificate to download. A browser that does
// not trust it yet must be able to read them: they are open to everybody, and served
// without TLS too.
package trust
