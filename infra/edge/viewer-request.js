// CloudFront function, viewer request, runtime cloudfront-js-2.0: sends a modern MCP request to the
// function of its class. What it does not know stays on /mcp, where the function that serves every
// class reads the body. Headers only hint: each function checks that header and body agree.
//
// template.yaml deploys this text; a test says when the two differ.

// The one method table of the edge. A test compares it with the table of the functions.
var METHOD_CLASSES = {
    'server/discover': 'discover',
    'tools/list': 'catalog',
    'prompts/list': 'catalog',
    'resources/list': 'catalog',
    'resources/templates/list': 'catalog',
    'resources/read': 'read',
    'prompts/get': 'read',
    'completion/complete': 'read',
    'tools/call': 'call',
    'tasks/get': 'tasks',
    'tasks/update': 'tasks',
    'tasks/cancel': 'tasks',
    'subscriptions/listen': 'listen'
};

var MODERN_VERSION = '2026-07-28';

// The value of a header that was sent exactly once.
function single(headers, name) {
    var header = headers[name];
    if (!header || header.multiValue) {
        return null;
    }
    return header.value;
}

// The authorizer knows callers, and remembers them, by Authorization alone. So a key that came as
// X-API-Key is put there, and goes nowhere else; beside an Authorization, or twice, it counts for
// nothing.
function identify(headers) {
    var key = single(headers, 'x-api-key');
    if (key && !headers.authorization) {
        headers.authorization = { value: 'Bearer ' + key };
    }
    delete headers['x-api-key'];
}

function handler(event) {
    var request = event.request;
    identify(request.headers);
    if (request.method !== 'POST' || request.uri !== '/mcp') {
        return request;
    }
    if (single(request.headers, 'mcp-protocol-version') !== MODERN_VERSION) {
        return request;
    }
    var method = single(request.headers, 'mcp-method');
    if (method !== null && Object.prototype.hasOwnProperty.call(METHOD_CLASSES, method)) {
        request.uri = '/mcp/' + METHOD_CLASSES[method];
    }
    return request;
}
