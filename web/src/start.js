// Keep everything in this browser, so that the page works without a network from the second time on.
if ("serviceWorker" in navigator) navigator.serviceWorker.register("./offline.js").catch(() => {});
