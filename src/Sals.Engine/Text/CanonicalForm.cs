namespace Sals.Engine.Text;
internal static class CanonicalForm { public static string Compose(string t)=>t; public static string Decompose(string t)=>t; }
