/** The dialog that asks what is wrong with what is shown. */

const $ = (id) => document.getElementById(id);

/** @returns {Promise<string | null>} What is wrong, if need be in no words; null: nothing after all. */
export function askWhy() {
  const dialog = $("flagging");
  $("flag-why").value = dialog.returnValue = "";
  $("flag-cancel").onclick = () => dialog.close();
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.onclose = () => resolve(dialog.returnValue === "flag" ? $("flag-why").value : null);
  });
}
